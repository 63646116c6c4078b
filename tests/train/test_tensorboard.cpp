// TensorBoard's own reader on what a run wrote, where the Python package is present. The
// interpreter is that of MOE_PYTHON, or python3.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/support/message_of.h"
#include "tests/support/python.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

/// Bytes of all event files of a run below `folder`, in order.
std::string events_in(const Path& folder) {
  std::string out;
  for (const auto& name : real_files().list(folder))
    out += read_file(real_files(), folder / name, 1 << 26);
  return out;
}

TEST(TensorBoard, LogsTextConfigurationAndSamples) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.tensorboard.sample_prompt = "once upon";
  train::Run(options, folder.path() / "run").start();
  const std::string train = events_in(folder.path() / "run" / "tensorboard" / "train"),
                    valid = events_in(folder.path() / "run" / "tensorboard" / "valid");
  for (const char* part : {"brain.Event:2", "config", "num_experts = 4", "sample", "once upon",
                           "load/layer_1", "entropy/layer_0", "grad_norm", "balance/"})
    EXPECT_PRED2(contains, train, part);
  for (const char* part : {"perplexity", "lm_loss", "domains/english"})
    EXPECT_PRED2(contains, valid, part);
}

TEST(TensorBoard, ASampleThatCannotBeWrittenStopsNoRun) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 2;
  options.train.eval_every = 1;
  options.train.tensorboard.sample_prompt = std::string(1000, 'a');  // longer than the context
  EXPECT_EQ(train::Run(options, folder.path() / "run").start().record.step, 2);
}

TEST(TensorBoard, CanBeTurnedOff) {
  const TemporaryFolder folder;
  auto options = tiny_run(folder.path());
  options.train.steps = 1;
  options.train.tensorboard.enabled = false;
  train::Run(options, folder.path() / "run").start();
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "run" / "tensorboard"));
}

TEST(TensorBoard, ReadsOurEventsAndShowsEveryStepOnceAfterAResume) {
  if (!python_has("tensorboard")) GTEST_SKIP() << "python3 has no tensorboard";
  const TemporaryFolder folder;
  const auto options = tiny_run(folder.path());
  train::Run cut(options, folder.path() / "run");
  cut.start({.max_steps = 4});
  // A copy of the checkpoint's state stays behind while the run goes on to step 7, evaluated at 5:
  // as if the process had been killed there.
  const Path copy = folder.path() / "at4";
  std::filesystem::copy(folder.path() / "run" / "checkpoints", copy,
                        std::filesystem::copy_options::recursive);
  cut.resume({.max_steps = 7});
  std::filesystem::remove_all(folder.path() / "run" / "checkpoints");
  std::filesystem::rename(copy, folder.path() / "run" / "checkpoints");
  cut.resume();
  std::ofstream(folder / "check.py") << R"(
import json, struct, sys
from tensorboard.backend.event_processing import plugin_event_accumulator  # what TensorBoard's pages read
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
run = sys.argv[1] + '/run/'
lines = [json.loads(line) for line in open(run + 'metrics.jsonl')]
steps = [line for line in lines if 'eval' not in line]
evaluations = [line for line in lines if 'eval' in line]
assert [line['step'] for line in steps] == list(range(1, 13)), steps
assert [line['step'] for line in evaluations] == [5, 10, 12]
f32 = lambda x: struct.unpack('f', struct.pack('f', x))[0]
def load(name):
    out = EventAccumulator(run + 'tensorboard/' + name, size_guidance={'scalars': 0, 'histograms': 0, 'tensors': 0})
    out.Reload()
    return out
train, valid = load('train'), load('valid')
def same(events, lines, value):
    found = [(event.step, event.value) for event in events]
    assert found == [(line['step'], f32(value(line))) for line in lines], (found, lines)
same(train.Scalars('loss'), steps, lambda line: line['loss'])
same(train.Scalars('grad_norm'), steps, lambda line: line['grad_norm'])
same(train.Scalars('entropy/layer_1'), steps, lambda line: line['layers'][1]['entropy'])
same(train.Scalars('max_over_mean/layer_0'), steps, lambda line: line['layers'][0]['max_over_mean'])
same(valid.Scalars('lm_loss'), evaluations, lambda line: line['eval']['loss'])
same(valid.Scalars('domains/english'), evaluations, lambda line: line['eval']['domains']['english'])
for name in steps[0]['balance']:
    same(train.Scalars('balance/' + name), steps, lambda line: line['balance'][name])
histograms = train.Histograms('load/layer_1')
assert [event.step for event in histograms] == list(range(1, 13))
for event, line in zip(histograms, steps, strict=True):
    h = event.histogram_value
    assert list(h.bucket_limit) == [-0.5, 0.5, 1.5, 2.5, 3.5], h
    assert list(h.bucket)[1:] == line['layers'][1]['load'] and h.bucket[0] == 0, h
    assert abs(h.num - 1) < 1e-9 and abs(h.sum - sum(e * x for e, x in enumerate(h.bucket[1:]))) < 1e-9
pages = plugin_event_accumulator.EventAccumulator(run + 'tensorboard/train')
pages.Reload()
texts = {tag: [(e.step, e.tensor_proto.string_val[0].decode()) for e in pages.Tensors(tag)]
         for tag in ('config', 'sample')}
assert 'num_experts = 4' in texts['config'][-1][1]
assert [step for step, _ in texts['sample']] == [5, 10, 12], texts
assert all(train.SummaryMetadata(tag).plugin_data.plugin_name == 'text' for tag in ('config', 'sample'))
)";
  EXPECT_EQ(run_python(folder / "check.py", folder.path()), 0);
}

}  // namespace
}  // namespace moe::test
