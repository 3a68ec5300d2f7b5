#include "base/quota.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

namespace bp {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

struct Group {  // the process's own in one hierarchy
  bool v2;
  std::string path;  // "" is the hierarchy's root
};

bool has_cpu(const std::string& list) { return ("," + list + ",").find(",cpu,") != std::string::npos; }

std::string without_slash(const std::string& path) { return path == "/" ? "" : path; }

// mountinfo writes space, tab, newline and backslash as \040 and the like.
std::string unescaped(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool code = text[i] == '\\' && text.find_first_not_of("01234567", i + 1) >= i + 4 && i + 3 < text.size();
    result += code ? static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8)) : text[i];
    if (code) i += 3;
  }
  return result;
}

// Lines of /proc/self/cgroup: "0::/path" of version 2, "4:cpu,cpuacct:/path" of version 1.
std::vector<Group> own_groups(const std::string& root) {
  std::vector<Group> groups;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string id, controllers, path;
    std::getline(fields, id, ':');
    std::getline(fields, controllers, ':');
    if (!std::getline(fields, path)) continue;
    const bool v2 = id == "0" && controllers.empty();
    if (path.rfind("/..", 0) == 0) continue;  // outside of what the namespace shows
    if (v2 || has_cpu(controllers)) groups.push_back({v2, without_slash(path)});
  }
  return groups;
}

double quota_of(const std::string& folder, bool v2) {
  double quota = -1, period = -1;
  if (v2) {
    std::ifstream(folder + "/cpu.max") >> quota >> period;  // the quota of "max 100000" becomes 0
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kNone;
}

// Of the group at `below` under the mount and of all above it.
double smallest_quota(const std::string& mount, std::string below, bool v2) {
  double smallest = quota_of(mount, v2);
  while (!below.empty()) {
    smallest = std::min(smallest, quota_of(mount + below, v2));
    below.resize(below.rfind('/') == std::string::npos ? 0 : below.rfind('/'));
  }
  return smallest;
}

}  // namespace

double quota_cpus(const std::string& root) {
  const std::vector<Group> groups = own_groups(root);
  double smallest = kNone;
  std::ifstream mounts(root + "/proc/self/mountinfo");
  // "id parent device top point options [optional ...] - type source options": point shows the group `top` and below.
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string skipped, top, point, type, options;
    fields >> skipped >> skipped >> skipped >> top >> point;
    while (fields >> skipped && skipped != "-") {
    }
    fields >> type >> skipped >> options;
    const bool v2 = type == "cgroup2";
    if (!v2 && !(type == "cgroup" && has_cpu(options))) continue;
    top = without_slash(unescaped(top));
    point = unescaped(point);
    for (const Group& group : groups) {
      // A mount that shows other groups says nothing of this process.
      if (group.v2 != v2 || (group.path + "/").rfind(top + "/", 0) != 0) continue;
      smallest = std::min(smallest, smallest_quota(root + point, group.path.substr(top.size()), v2));
    }
  }
  return smallest == kNone ? 0 : smallest;
}

}  // namespace bp
