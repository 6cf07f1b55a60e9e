// A sum to an activation: clip(sum >> shift, 0, 2^BITS - 1), rounded towards minus infinity. Combinational.
// (The half that makes it rounding half up is part of the bias, and so of `sum`.)
module requantise #(
    parameter SUM_BITS   = 22,
    parameter SHIFT_BITS = 4,
    parameter BITS       = 8
) (
    input  wire signed [SUM_BITS-1:0] sum,
    input  wire [SHIFT_BITS-1:0]      shift,
    output wire [BITS-1:0]            activation
);
    wire [SUM_BITS-1:0] shifted = sum >>> shift;
    wire negative = sum[SUM_BITS-1];
    wire too_large = |shifted[SUM_BITS-1:BITS];

    assign activation = negative ? {BITS{1'b0}} : too_large ? {BITS{1'b1}} : shifted[BITS-1:0];
endmodule
