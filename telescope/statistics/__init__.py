"""Statistics of losses, tokens, batch sizes and devices, and of times to an event.

In reading order: `estimates`, intervals and scaling laws · `tokens_to_loss`, the tokens that each
run needed to reach a loss · `batch_readings`, these tokens at each batch size · `critical_batch`,
the batch size beyond which the tokens rise · `token_ratio`, the tokens of two optimizers compared ·
`step_time`, the time of a step on several devices · `frontier`, hours against devices ·
`survival`, times to an event, some of them censored · `group_tests`, tests of whether groups of
times differ.
"""
