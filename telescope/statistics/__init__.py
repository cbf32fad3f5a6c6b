"""Statistics of losses against tokens, batch sizes and devices.

In reading order: `estimates`, intervals and scaling laws · `tokens_to_loss`, the tokens that each
run needed · `batch_readings`, the tokens that each batch size needs · `critical_batch`, the batch
size beyond which these tokens rise · `token_ratio`, the tokens of two optimizers compared ·
`step_time`, the time of a step on several devices · `frontier`, hours against devices.
"""
