"""Statistics of the losses, tokens and times of training runs.

In reading order:

- `estimates`: numbers with intervals, and scaling laws of the loss
- `tokens_to_loss`: the number of tokens that each run needed to reach a loss
- `batch_readings`: the number of tokens to a loss at each batch size
- `critical_batch`: the batch size beyond which the number of tokens to a loss rises
- `token_ratio`: the ratio of the tokens that two optimizers need
- `step_time`: the time of a step on several devices
- `frontier`: the hours to reach a loss, against the number of devices
- `survival`: times to an event, such as generalisation, which some runs do not reach
- `group_tests`: tests of whether two groups of times differ
"""
