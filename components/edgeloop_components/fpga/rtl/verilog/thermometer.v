// at_most[k] = value <= k, as plain logic: no carry chain, and one look-up table a bit that somebody uses.
module thermometer #(
    parameter BITS = 4  // at most 4
) (
    input  wire [BITS-1:0]      value,
    output wire [(1<<BITS)-1:0] at_most
);
    genvar k;
    generate
        for (k = 0; k < (1 << BITS); k = k + 1) begin : bits
            localparam [(1<<BITS)-1:0] TRUE = {(1<<BITS){1'b1}} << k;
            wire [(1<<BITS)-1:0] one = {{(1<<BITS)-1{1'b0}}, 1'b1} << value;
            assign at_most[k] = |(one & ~(TRUE << 1));
        end
    endgenerate
endmodule
