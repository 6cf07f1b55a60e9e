"""What runs on a node: the server that scores and counts, the agent that reports, and the access script.

`server` and `runtimes` need numpy, onnxruntime and uvicorn; everything else here needs the standard library only (and
paho-mqtt for the MQTT transport), so that an agent costs a node kilobytes. Nothing here trains, judges or deploys.
"""
