"""The rim: asks a cluster, services and clocks, each within a time, and puts down what they answer as facts."""
