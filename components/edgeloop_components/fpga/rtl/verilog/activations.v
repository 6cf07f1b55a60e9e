// Two banks, one read while the other is written. `r_data` follows `r_address` by one clock.
module activations #(
    parameter WIDTH   = 8,
    parameter ADDRESS = 6  // bits of an address within a bank
) (
    input  wire               clk,
    input  wire               side,       // the bank that is read
    input  wire               write,
    input  wire [ADDRESS-1:0] w_address,
    input  wire [WIDTH-1:0]   w_data,
    input  wire [ADDRESS-1:0] r_address,
    output reg  [WIDTH-1:0]   r_data
);
    (* ram_style = "block", no_rw_check *)
    reg [WIDTH-1:0] memory [0:(2 << ADDRESS) - 1];

    always @(posedge clk) begin
        if (write) memory[{!side, w_address}] <= w_data;
        r_data <= memory[{side, r_address}];
    end
endmodule
