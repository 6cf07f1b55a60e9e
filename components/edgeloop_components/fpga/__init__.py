"""FPGAs: a model's integers (quantise), its Verilog (rtl), their proof (proof), and the bitstream (backend, build)."""
