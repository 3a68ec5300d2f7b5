// The CPU quota of this process's control groups (Linux): what a container's "1.5 CPUs" is made of.
#pragma once

#include <string>

namespace bp {

// CPUs by quota over period, the smallest of the process's own group and all above it that can be seen; 0 without one.
// Version 2 of control groups, version 1, or both at once. A file that is missing or not understood sets no quota.
// root stands before /proc and before every mount point, so that the tests can build a tree of their own.
double quota_cpus(const std::string& root = "");

}  // namespace bp
