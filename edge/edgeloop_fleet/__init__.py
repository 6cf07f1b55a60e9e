"""What steers the fleet from the cloud: the report store, the judge and the rollout controller.

It trains nothing and touches no node: it reads reports, decides, and acts through the ports (`ports.py`).
"""
