"""What a model returns (a trace), and what that costs: the two ideas that everything else rests on."""
