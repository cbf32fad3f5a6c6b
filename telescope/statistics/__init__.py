"""Statistics of losses against tokens, batch sizes and devices.

In reading order: `estimates`, intervals and laws · `tokens_to_loss`, of each run ·
`batch_readings`, of each batch size · `critical_batch` · `token_ratio`, of two optimizers ·
`step_time`, on several devices · `frontier`, hours against devices.
"""
