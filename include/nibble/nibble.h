/* SPDX-License-Identifier: MIT */
/* The whole public interface of libnibble. */
#ifndef NIBBLE_NIBBLE_H
#define NIBBLE_NIBBLE_H

#include "nibble/dataset.h"
#include "nibble/generate.h"
#include "nibble/inspect.h"
#include "nibble/log.h"
#include "nibble/model.h"
#include "nibble/plan.h"
#include "nibble/recipe.h"
#include "nibble/report.h"
#include "nibble/rows.h"
#include "nibble/status.h"
#include "nibble/tokenizer.h"
#include "nibble/train.h"

#endif
