#pragma once
// The options of every built-in router, for MoELayerOptions::router.

#include <moe/routing/kinds/cosine.h>
#include <moe/routing/kinds/dense.h>
#include <moe/routing/kinds/expert_choice.h>
#include <moe/routing/kinds/forced_balance.h>
#include <moe/routing/kinds/forced_skew.h>
#include <moe/routing/kinds/gating_residual.h>
#include <moe/routing/kinds/gshard.h>
#include <moe/routing/kinds/hash.h>
#include <moe/routing/kinds/mlp.h>
#include <moe/routing/kinds/noisy_topk.h>
#include <moe/routing/kinds/replay.h>
#include <moe/routing/kinds/scaled_topk.h>
#include <moe/routing/kinds/sigmoid.h>
#include <moe/routing/kinds/sparsemixer.h>
#include <moe/routing/kinds/switch.h>
#include <moe/routing/kinds/topk.h>
#include <moe/routing/kinds/vmoe.h>
#include <moe/routing/kinds/warmup_noise.h>
