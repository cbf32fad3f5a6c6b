"""Statistics of losses against tokens, batch sizes and devices.

In reading order: `estimates`, intervals and scaling laws · `tokens_to_loss`, the tokens that each
run needed · `batch_readings`, the tokens that each batch size needs · `critical_batch`, beyond
which they rise · `token_ratio`, two optimizers compared · `step_time`, on several devices ·
`frontier`, hours against devices.
"""
