// One byte of CRC-8: polynomial x^8 + x^2 + x + 1 (07h), most significant bit first, no reflection, nothing inverted.
// Combinational. `next` is 0 exactly when `data` equals `crc`: so a received check byte is tested.
module crc8 (
    input  wire [7:0] crc,
    input  wire [7:0] data,
    output wire [7:0] next
);
    wire [7:0] t = crc ^ data;

    assign next[0] = t[0] ^ t[6] ^ t[7];
    assign next[1] = t[0] ^ t[1] ^ t[6];
    assign next[2] = t[0] ^ t[1] ^ t[2] ^ t[6];
    assign next[3] = t[1] ^ t[2] ^ t[3] ^ t[7];
    assign next[4] = t[2] ^ t[3] ^ t[4];
    assign next[5] = t[3] ^ t[4] ^ t[5];
    assign next[6] = t[4] ^ t[5] ^ t[6];
    assign next[7] = t[5] ^ t[6] ^ t[7];
endmodule
