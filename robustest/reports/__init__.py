"""Reports: results in, text and files out. No model, no tensor."""
