// Registers on a Wishbone bus (classic cycles, 32 bits; an access takes two clocks), for a core inside a SoC:
//   word 0  write: a byte of a request.  read: the next byte of the reply in bits 7..0 and bit 8 set; 0 where none is ready
//   word 1  read: bit 0: a byte can be written; bit 1: a byte can be read
// What is written while bit 0 of word 1 is clear is not heard.
module wishbone (
    input  wire        clk,
    input  wire        rst,
    input  wire        cyc,
    input  wire        stb,
    input  wire        we,
    input  wire        adr,
    input  wire [31:0] dat_w,
    output reg  [31:0] dat_r,
    output reg         ack,
    output reg  [7:0]  r_data,
    output reg         r_valid,
    input  wire        r_ready,
    input  wire [7:0]  t_data,
    input  wire        t_valid,
    output wire        t_ready
);
    wire access = cyc && stb && !ack;

    assign t_ready = access && !we && !adr;

    always @(posedge clk) begin
        ack <= access && !rst;
        r_valid <= access && we && !adr && !rst;
        if (access) begin
            r_data <= dat_w[7:0];
            dat_r <= adr ? {30'd0, t_valid, r_ready} : {23'd0, t_valid, t_valid ? t_data : 8'd0};
        end
    end
endmodule
