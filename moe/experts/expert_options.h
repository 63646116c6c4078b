#pragma once
// The options of every built-in kind of expert, for MoELayerOptions::expert.

#include <moe/experts/kinds/advanced.h>
#include <moe/experts/kinds/basic.h>
#include <moe/experts/kinds/clamped.h>
#include <moe/experts/kinds/ffn.h>
#include <moe/experts/kinds/gated.h>
#include <moe/experts/kinds/lora.h>
#include <moe/experts/kinds/low_rank.h>
#include <moe/experts/kinds/mixed_widths.h>
#include <moe/experts/kinds/top_activations.h>
