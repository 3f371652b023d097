"""What robustest remembers: identities of models, finished work, results, adversarial inputs, baselines.

Files and hashes alone: no model passes and no verdicts. Import from the modules; `records`, `baselines` and `files`
do not load torch. Nothing is ever unpickled: tensors are safetensors, everything else is JSON.
"""
