// Threads and forks: a forked child has one thread, the one that forked, and all memory as the others left it.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace bp {

int forks();  // on the way from the process that loaded this library to this one

// For what other threads may be in the middle of when one of them forks. It is free in the child, and what it guards
// whole.
std::mutex& free_in_children();

// One thread at a time. A thread that a fork left behind in the parent process is no longer inside.
class Gate {
 public:
  std::uint64_t enter();          // for leave(); 0 if a thread is inside, be it this one
  void leave(std::uint64_t who);  // nothing happens if someone has come in after a fork
  bool held() const;              // by a thread of this process
  bool mine() const;              // by this thread
  bool deserted() const;          // whoever was inside stayed in the parent process, in the middle of things

 private:
  std::atomic<std::uint64_t> inside_{0};
};

class Entry {  // of a gate, for as long as the object lives
 public:
  explicit Entry(Gate& gate) : gate_(gate), who_(gate.enter()) {}
  ~Entry() { leave(); }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;
  bool inside() const { return who_ != 0; }
  void leave() {
    if (inside()) gate_.leave(who_);
    who_ = 0;
  }

 private:
  Gate& gate_;
  std::uint64_t who_;
};

}  // namespace bp
