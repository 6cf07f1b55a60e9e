// What the arithmetic blocks of ../rtl/verilog are proven to equal: the same ports, written as the definition reads.

module crc8_reference (
    input  wire [7:0] crc,
    input  wire [7:0] data,
    output reg  [7:0] next
);
    integer k;
    always @* begin  // a bit at a time: shift out, and divide by x^8 + x^2 + x + 1
        next = crc;
        for (k = 7; k >= 0; k = k - 1)
            next = {next[6:0], 1'b0} ^ ((next[7] ^ data[k]) ? 8'h07 : 8'h00);
    end
endmodule

module requantise_reference #(
    parameter SUM_BITS   = 22,
    parameter SHIFT_BITS = 4,
    parameter BITS       = 8
) (
    input  wire signed [SUM_BITS-1:0] sum,
    input  wire [SHIFT_BITS-1:0]      shift,
    output reg  [BITS-1:0]            activation
);
    localparam WIDE = SUM_BITS + BITS + (1 << SHIFT_BITS);
    wire signed [WIDE-1:0] wide = sum;
    integer k;
    always @* begin  // how many of 1, 2, ... 2^BITS - 1 are at most sum / 2^shift
        activation = 0;
        for (k = BITS - 1; k >= 0; k = k - 1)
            if (wide >= ($signed({{WIDE-BITS{1'b0}}, activation | (1'b1 << k)}) <<< shift)) activation = activation | (1'b1 << k);
    end
endmodule

module thermometer_reference #(
    parameter BITS = 4
) (
    input  wire [BITS-1:0]      value,
    output reg  [(1<<BITS)-1:0] at_most
);
    integer k;
    always @* for (k = 0; k < (1 << BITS); k = k + 1) at_most[k] = value <= k;
endmodule

module larger_reference #(
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
    wire signed [BITS:0] difference = {second[BITS-1], second} - {first[BITS-1], first};  // > 0: neither negative nor zero
    always @(posedge clk)
        if (!difference[BITS] && |difference) {score, place} <= {second, second_place};
        else {score, place} <= {first, first_place};
endmodule

module lane_reference #(
    parameter BITS     = 4,
    parameter SUM_BITS = 12
) (
    input  wire                       clk,
    input  wire                       clear,
    input  wire                       add,
    input  wire signed [BITS-1:0]     weight,
    input  wire signed [BITS:0]       activation,
    output reg  signed [SUM_BITS-1:0] sum
);
    reg signed [BITS-1:0] w;
    reg signed [BITS:0]   a;
    wire signed [SUM_BITS-1:0] terms [0:BITS-1];  // long multiplication; the weight's sign bit counts -2^(BITS-1)
    genvar k;
    generate
        for (k = 0; k < BITS; k = k + 1) begin : bits
            wire signed [SUM_BITS-1:0] wide = a;
            wire signed [SUM_BITS-1:0] before;
            if (k == 0) begin : none
                assign before = 0;
            end else begin : some
                assign before = terms[k-1];
            end
            assign terms[k] = !w[k] ? before : k == BITS - 1 ? before - (wide <<< k) : before + (wide <<< k);
        end
    endgenerate
    always @(posedge clk) begin
        {w, a} <= {weight, activation};
        sum <= clear ? 0 : add ? sum + terms[BITS-1] : sum;
    end
endmodule

module largest_reference #(
    parameter BITS       = 4,
    parameter LABEL_BITS = 2,
    parameter SINGLE     = 0
) (
    input  wire                   clk,
    input  wire                   clear,
    input  wire                   valid,
    input  wire signed [BITS-1:0] value,
    output reg  [LABEL_BITS-1:0]  label
);
    reg [LABEL_BITS:0]      count;  // values so far, all of them kept
    reg [(BITS<<LABEL_BITS)-1:0] kept;
    integer i, j;
    reg largest;
    always @* begin  // the first that no other exceeds
        label = 0;
        for (i = (1 << LABEL_BITS) - 1; i >= 0; i = i - 1) begin
            largest = i < count;
            for (j = 0; j < (1 << LABEL_BITS); j = j + 1)
                if (j < count && $signed(kept[j*BITS +: BITS]) > $signed(kept[i*BITS +: BITS])) largest = 0;
            if (largest) label = i;
        end
        if (SINGLE) label = count != 0 && $signed(kept[BITS-1:0]) > 0;
    end
    always @(posedge clk)
        if (clear) count <= 0;
        else if (valid) begin
            count <= count + 1;
            kept[count[LABEL_BITS-1:0]*BITS +: BITS] <= value;
        end
endmodule
