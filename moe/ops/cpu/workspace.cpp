#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include <moe/ops/cpu/workspace.h>

namespace moe::ops::cpu {

namespace {

struct Piece {
  void* data;
  size_t bytes;
};

class Pool {
 public:
  Piece take(size_t bytes) {
    bytes = std::max<size_t>(64, (bytes + 63) / 64 * 64);
    {
      const std::lock_guard lock(mutex_);
      // The smallest that fits, unless most of it would lie idle.
      auto best = free_.end();
      for (auto it = free_.begin(); it != free_.end(); ++it)
        if (it->bytes >= bytes && it->bytes / 4 <= bytes &&
            (best == free_.end() || it->bytes < best->bytes))
          best = it;
      if (best != free_.end()) {
        const Piece piece = *best;
        free_.erase(best);
        kept_ -= piece.bytes;
        note_use(piece.bytes);
        return piece;
      }
      note_use(bytes);
    }
    void* const data = std::aligned_alloc(64, bytes);
    if (data) return {data, bytes};
    const std::lock_guard lock(mutex_);
    used_ -= bytes;
    throw std::bad_alloc();
  }

  void give_back(Piece piece) {
    const std::lock_guard lock(mutex_);
    used_ -= piece.bytes;
    kept_ += piece.bytes;
    free_.push_back(piece);
    // The oldest go first.
    while (kept_ + used_ > most_used_) {
      kept_ -= free_.front().bytes;
      std::free(free_.front().data);
      free_.erase(free_.begin());
    }
  }

 private:
  void note_use(size_t bytes) {
    used_ += bytes;
    most_used_ = std::max(most_used_, used_);
  }

  std::mutex mutex_;
  std::vector<Piece> free_;
  size_t used_ = 0, kept_ = 0, most_used_ = 0;
};

/// Never destroyed: other threads may still give back at exit.
Pool& pool() {
  static Pool* const pool = new Pool;
  return *pool;
}

}  // namespace

Workspace::Workspace(size_t bytes) {
  const Piece piece = pool().take(bytes);
  data_ = piece.data;
  bytes_ = piece.bytes;
}

Workspace::~Workspace() {
  pool().give_back({data_, bytes_});
}

}  // namespace moe::ops::cpu
