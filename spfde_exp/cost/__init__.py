"""What a run costs: FLOPs and memory, predicted from the plan and metered while training."""
