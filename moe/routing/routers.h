#pragma once
// The options of every built-in router, for MoELayerOptions::router.

#include <moe/routing/kinds/base.h>
#include <moe/routing/kinds/cosine.h>
#include <moe/routing/kinds/dense.h>
#include <moe/routing/kinds/dynmoe.h>
#include <moe/routing/kinds/expert_choice.h>
#include <moe/routing/kinds/forced_balance.h>
#include <moe/routing/kinds/forced_skew.h>
#include <moe/routing/kinds/gshard.h>
#include <moe/routing/kinds/hash.h>
#include <moe/routing/kinds/mlp.h>
#include <moe/routing/kinds/noisy_topk.h>
#include <moe/routing/kinds/policy_gradient.h>
#include <moe/routing/kinds/quantile.h>
#include <moe/routing/kinds/relu.h>
#include <moe/routing/kinds/replay.h>
#include <moe/routing/kinds/scaled_topk.h>
#include <moe/routing/kinds/sigmoid.h>
#include <moe/routing/kinds/sinkhorn.h>
#include <moe/routing/kinds/sparsemixer.h>
#include <moe/routing/kinds/switch.h>
#include <moe/routing/kinds/thor.h>
#include <moe/routing/kinds/token_rounding.h>
#include <moe/routing/kinds/topk.h>
#include <moe/routing/kinds/vmoe.h>
#include <moe/routing/kinds/warmup_noise.h>
