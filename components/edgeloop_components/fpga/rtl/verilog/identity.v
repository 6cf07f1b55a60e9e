// What ID answers: the protocol's number and the digest of the design, in a memory that a patch of the bitstream can write.
// Address 33 holds the first byte, address 1 the last. `data` follows `address` by one clock.
module identity (
    input  wire       clk,
    input  wire [5:0] address,
    output reg  [7:0] data
);
    (* ram_style = "block", rom_style = "block" *)
    reg [7:0] memory [0:63];
    initial $readmemh("identity.hex", memory);

    always @(posedge clk) data <= memory[address];
endmodule
