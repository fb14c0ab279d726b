// Rows in chunks, over a pool of threads that sleep between calls.
//
// The caller works too and waits only for threads that have taken a chunk. So a second caller, who finds the pool busy,
// and a forked child, whose threads are gone, do all of the work themselves: slower, and the same result.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace fetfast {

class Pool {
 public:
  // Never destroyed: at exit its threads may be gone already, and joining them would hang.
  static Pool& instance() {
    static Pool& pool = *new Pool;
    return pool;
  }

  void set_threads(int n) {
    std::lock_guard<std::mutex> turn(turn_);
    wanted_ = n;
  }

  int threads() {
    std::lock_guard<std::mutex> turn(turn_);
    return wanted_;
  }

  // body(begin, end) for chunks of `grain` that cover 0 ... count.
  template <class Body>
  void run(int count, int grain, const Body& body) {
    std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    int helpers = turn.owns_lock() ? std::min(wanted_ - 1, (count - 1) / grain) : 0;
    if (helpers <= 0) {
      if (count > 0) body(0, count);
      return;
    }
    for (; started_ < helpers; started_++) std::thread([this] { work(); }).detach();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      call_ = [](const void* b, int begin, int end) { (*static_cast<const Body*>(b))(begin, end); };
      body_ = &body;
      count_ = count;
      grain_ = grain;
      next_ = 0;
      seats_ = helpers;
    }
    for (int i = 0; i < helpers; i++) wake_.notify_one();
    take_chunks();
    std::unique_lock<std::mutex> lock(mutex_);
    seats_ = 0;
    done_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  Pool() : wanted_(std::max(1, std::min(8, int(std::thread::hardware_concurrency())))) {}

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return seats_ > 0; });
      seats_--;
      busy_++;
      lock.unlock();
      take_chunks();
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  void take_chunks() {
    for (int begin; (begin = next_.fetch_add(grain_)) < count_;)
      call_(body_, begin, std::min(begin + grain_, count_));
  }

  std::mutex turn_;  // held by the one caller whom the pool serves
  int wanted_, started_ = 0;
  std::mutex mutex_;  // of what follows: the job, how many may still join it, how many have
  std::condition_variable wake_, done_;
  void (*call_)(const void*, int, int) = nullptr;
  const void* body_ = nullptr;
  int count_ = 0, grain_ = 1, seats_ = 0, busy_ = 0;
  std::atomic<int> next_{0};
};

}  // namespace fetfast
