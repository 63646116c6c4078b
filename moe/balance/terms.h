#pragma once
// The options of every built-in balance term, for MoELayerOptions::balance.

#include <moe/balance/kinds/absolute_deviation.h>
#include <moe/balance/kinds/domain_classifier.h>
#include <moe/balance/kinds/entropy.h>
#include <moe/balance/kinds/expert_l2.h>
#include <moe/balance/kinds/gate_diversity.h>
#include <moe/balance/kinds/importance.h>
#include <moe/balance/kinds/load.h>
#include <moe/balance/kinds/orthogonality.h>
#include <moe/balance/kinds/relu_l1.h>
#include <moe/balance/kinds/sequence.h>
#include <moe/balance/kinds/similarity.h>
#include <moe/balance/kinds/specialisation.h>
#include <moe/balance/kinds/squared_deviation.h>
#include <moe/balance/kinds/switch.h>
#include <moe/balance/kinds/token_entropy.h>
#include <moe/balance/kinds/usage_variance.h>
#include <moe/balance/kinds/z_loss.h>
