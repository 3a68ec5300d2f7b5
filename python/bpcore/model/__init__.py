"""Model and Sequential: building, training, inspecting, copying, saving and loading."""
