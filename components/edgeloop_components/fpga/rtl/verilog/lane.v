// A multiplier and its accumulator: signed weight times activation, the product registered on its way.
// What comes with `valid` is in `sum` two clocks later.
module lane #(
    parameter BITS     = 8,
    parameter SUM_BITS = 22
) (
    input  wire                       clk,
    input  wire                       clear,       // sum <= 0
    input  wire                       add,         // sum <= sum + the product of the clock before
    input  wire signed [BITS-1:0]     weight,
    input  wire signed [BITS:0]       activation,
    output reg  signed [SUM_BITS-1:0] sum
);
    reg signed [2*BITS:0] product;

    always @(posedge clk) begin
        product <= weight * activation;
        if (clear) sum <= 0;
        else if (add) sum <= sum + product;
    end
endmodule
