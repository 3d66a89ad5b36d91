"""Series, that is channels over time: `config` has the settings and `encoder` the network, with `bands` for fast ones.

Reading one: `clean` checks samples and times, `windows` resamples and cuts, `augment` varies it in training.
"""
