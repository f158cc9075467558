"""Training on one worker of a group: pretraining, supervised fine-tuning, conservative DPO.

Nothing here imports ray: a process that has the usual rank variables set, or none of them, trains.
"""
