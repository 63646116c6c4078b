#include <algorithm>

#include <moe/base/glob.h>
#include <moe/formats/strict_json.h>
#include <moe/formats/vendor_layouts.h>

namespace moe::formats {

namespace {

/// The first file of `folder` that one of `patterns` fits; empty where there is none.
std::string first_file(const Path& folder, const std::vector<const char*>& patterns) {
  auto& files = real_files();
  if (files.kind(folder) != FileKind::kFolder) return "";
  auto names = files.list(folder);
  std::ranges::sort(names);
  for (const auto& name : names)
    for (const char* pattern : patterns)
      if (glob_match(pattern, name)) return name;
  return "";
}

}  // namespace

std::optional<VendorLayout> vendor_layout_in(const Path& folder) {
  for (const Path& part :
       {folder, folder / "ckpt-0", folder / "ckpt", folder / "checkpoints" / "ckpt-0"})
    if (!first_file(part, {"tensor?????_???"}).empty())
      return VendorLayout{"the JAX checkpoint of grok-1 (pickled tensors)",
                          "Fetch its Hugging Face conversion, hpcai-tech/grok-1."};
  // Also without params.json: the names alone do not fit those of the Hugging Face form.
  if (const auto name = first_file(folder, {"consolidated*.safetensors", "consolidated*.pt*"});
      !name.empty())
    return VendorLayout{
        concat("Mistral's or Meta's own layout (", in_quotes(name), ")"),
        "Fetch the Hugging Face form of the model, such as mistralai/Mixtral-8x7B-v0.1, or "
        "convert it: convert_mixtral_weights_to_hf.py and its like come with transformers 4."};
  return std::nullopt;
}

std::optional<VendorLayout> unread_layout_in(const Path& folder) {
  if (auto layout = vendor_layout_in(folder)) return layout;
  if (const auto name = first_file(folder, {"*.bin", "*.pt", "*.pth"}); !name.empty())
    return VendorLayout{
        concat("PyTorch's (", in_quotes(name), "), which can run code when they are read"),
        concat("Write them anew: python3 -c \"from transformers import AutoModelForCausalLM as M; "
               "M.from_pretrained('",
               folder.string(), "', dtype='auto').save_pretrained('NEW_DIR')\".")};
  return std::nullopt;
}

}  // namespace moe::formats
