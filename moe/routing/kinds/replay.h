#pragma once

#include <string>

#include <moe/routing/router.h>

namespace moe {

/// For tests: replays recorded assignments; see routing/replay.h.
struct ReplayRouter {
  std::string path = "";

  template <class Visitor>
  void fields(Visitor& v) {
    v("path", path,
      "recording to replay (written by write_recording), read once, when a model starts, and not "
      "needed by its checkpoints; empty: set_assignment gives one");
  }
  operator RouterSpec() const { return spec_of<RouterSpec>("replay", *this); }
};

}  // namespace moe
