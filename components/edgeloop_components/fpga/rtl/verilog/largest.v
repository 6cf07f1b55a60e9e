// The place of the largest of the values that come one by one; the first of equals. With one class (SINGLE), whether it is > 0.
module largest #(
    parameter BITS       = 22,
    parameter LABEL_BITS = 2,
    parameter SINGLE     = 0
) (
    input  wire                   clk,
    input  wire                   clear,
    input  wire                   valid,
    input  wire signed [BITS-1:0] value,
    output reg  [LABEL_BITS-1:0]  label
);
    localparam signed [BITS-1:0] LEAST = SINGLE ? 0 : {1'b1, {BITS-1{1'b0}}};

    reg signed [BITS-1:0] best = 0;
    reg [LABEL_BITS-1:0]  place = 0;

    always @(posedge clk)
        if (clear) begin
            best <= LEAST;
            place <= SINGLE;
            label <= 0;
        end else if (valid) begin
            place <= place + 1'b1;
            if (value > best) begin
                best <= value;
                label <= place;
            end
        end
endmodule
