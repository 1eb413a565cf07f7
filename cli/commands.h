/* SPDX-License-Identifier: MIT */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "args.h"

extern const cli_command cmd_train, cmd_eval, cmd_data, cmd_generate, cmd_chat, cmd_init,
    cmd_inspect, cmd_tokenize, cmd_doctor, cmd_plan, cmd_quantize, cmd_report, cmd_sweep;

#endif
