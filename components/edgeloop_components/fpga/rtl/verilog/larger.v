// The larger of two scores and its place; the first of equals. Registered.
module larger #(
    parameter BITS       = 10,
    parameter LABEL_BITS = 2
) (
    input  wire                   clk,
    input  wire signed [BITS-1:0] first,
    input  wire [LABEL_BITS-1:0]  first_place,
    input  wire signed [BITS-1:0] second,
    input  wire [LABEL_BITS-1:0]  second_place,
    output reg  signed [BITS-1:0] score,
    output reg  [LABEL_BITS-1:0]  place
);
    wire later = second > first;

    always @(posedge clk) begin
        score <= later ? second : first;
        place <= later ? second_place : first_place;
    end
endmodule
