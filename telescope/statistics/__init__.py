"""Statistics of the losses, tokens and times of training runs.

In reading order:

- `estimates`: numbers with intervals, and scaling laws of the loss
- `tokens_to_loss`: the number of tokens that a run needed to reach a target loss
- `batch_readings`: the number of tokens to a target loss at each batch size
- `critical_batch`: the batch size beyond which the number of tokens to a target loss rises
- `token_ratio`: the ratio of the tokens that two optimizers need
- `step_time`: the time of a training step on several devices
- `frontier`: the hours to a target loss, against the number of devices
- `survival`: times to an event, such as generalisation, which some runs do not reach
- `group_tests`: tests of whether two groups of times differ
"""
