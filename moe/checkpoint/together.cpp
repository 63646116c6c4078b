// W ranks.
#include <cstring>
#include <exception>
#include <optional>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/checkpoint/together.h>

namespace moe::checkpoint {

namespace {

constexpr std::string_view kPlaceOfTogether = "checkpoint/together";
constexpr size_t kFailuresShown = 8;

at::Tensor tensor_of(std::string_view text) {
  at::Tensor out = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  if (!text.empty()) std::memcpy(out.mutable_data_ptr(), text.data(), text.size());
  return out;
}

std::string text_of(const at::Tensor& bytes) {
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())};
}

/// The texts of all ranks, by rank, on rank 0; one empty text on the others.
std::vector<std::string> texts_of_all(const std::string& mine, parallel::Communicator& world) {
  const auto W = static_cast<size_t>(world.size());
  const bool leads = world.rank() == 0;
  at::Tensor sizes_W = at::zeros({world.size()}, at::kLong);
  sizes_W[world.rank()] = static_cast<int64_t>(mine.size());
  world.all_reduce(sizes_W);
  const int64_t* const sizes = sizes_W.const_data_ptr<int64_t>();
  std::vector<int64_t> send(W, 0), receive(W, 0);
  send[0] = static_cast<int64_t>(mine.size());
  if (leads) receive = {sizes, sizes + W};
  const at::Tensor all = world.all_to_all_v(tensor_of(mine), send, receive);
  const char* data = static_cast<const char*>(all.const_data_ptr());
  std::vector<std::string> out;
  for (const int64_t size : receive) {
    out.emplace_back(data, static_cast<size_t>(size));
    data += size;
  }
  return out;
}

/// Runs `work`, which throws on some ranks or on none; then throws on all of them, or on none.
/// Those that failed throw what they threw, the others which rank it was.
template <class Work>
void all_or_none(parallel::Communicator& world, const Work& work) {
  std::exception_ptr problem;
  std::string message = "an exception of unknown type.";
  try {
    work();
  } catch (const std::exception& error) {
    problem = std::current_exception();
    message = error.what();
  } catch (...) {
    problem = std::current_exception();
  }
  // (W,) how long the message is of each rank that failed, and 1 more.
  at::Tensor failed_W = at::zeros({world.size()}, at::kLong);
  if (problem) failed_W[world.rank()] = static_cast<int64_t>(message.size()) + 1;
  world.all_reduce(failed_W);
  std::vector<std::string> failures;
  for (int64_t w = 0; w < world.size(); ++w) {
    const int64_t length = failed_W[w].item<int64_t>() - 1;
    if (length < 0) continue;
    at::Tensor text = world.rank() == w ? tensor_of(message) : at::empty({length}, at::kByte);
    world.broadcast(text, w);
    failures.push_back(concat("rank ", w, ": ", text_of(text)));
  }
  if (problem) std::rethrow_exception(problem);
  if (!failures.empty())
    fail(kPlaceOfTogether, "expected all ranks to write the checkpoint, got failures of ",
         failures.size(), ". The one before is there, or this one, whole.",
         indented_list(failures, kFailuresShown));
}

}  // namespace

void publish_together(const Path& target, parallel::Communicator& world,
                      const std::function<void(FolderWriter&)>& write,
                      std::map<std::string, std::string> metadata, FileSystem& files) {
  std::optional<Publication> publication;
  std::optional<FolderWriter> other;
  all_or_none(world, [&] {
    if (world.rank() == 0) publication.emplace(target, files);
  });
  std::string written;
  all_or_none(world, [&] {
    if (publication) return write(*publication);
    const Path folder = temporary_folder(target);
    check(files.kind(folder) == FileKind::kFolder, kPlaceOfTogether, "expected '", folder.string(),
          "', which rank 0 made, found none. Let all ranks write to one file system.");
    other.emplace(folder, files);
    write(*other);
    written = format_manifest({other->written(), {}});
  });
  const auto texts = texts_of_all(written, world);
  all_or_none(world, [&] {
    if (!publication) return;
    for (size_t w = 1; w < texts.size(); ++w)
      publication->accept(parse_manifest(texts[w], concat("what rank ", w, " wrote")).files);
    publication->finish(std::move(metadata));
  });
}

}  // namespace moe::checkpoint
