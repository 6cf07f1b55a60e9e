// Models of two ECP5 cells that yosys leaves as black boxes, for the simulation of netlists: what yosys makes of memories and
// products, no more (one clock of latency, no output registers, no resets, no writing while reading the same word).

module MULT18X18D (
    input  A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
    input  B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
    input  C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17,
    input  SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17, P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire signed [35:0] wide_a = {{18{SIGNEDA && a[17]}}, a};
    wire signed [35:0] wide_b = {{18{SIGNEDB && b[17]}}, b};
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = wide_a * wide_b;
endmodule

module DP16KD (
    input  DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16, DIA17,
    input  ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input  CEA, OCEA, CLKA, WEA, RSTA, CSA0, CSA1, CSA2,
    output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15, DOA16, DOA17,
    input  DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16, DIB17,
    input  ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input  CEB, OCEB, CLKB, WEB, RSTB, CSB0, CSB1, CSB2,
    output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16, DOB17
);
    parameter DATA_WIDTH_A = 18;
    parameter DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG";
    parameter REGMODE_B = "NOREG";
    parameter RESETMODE = "SYNC";
    parameter ASYNC_RESET_RELEASE = "SYNC";
    parameter CSDECODE_A = "0b000";
    parameter CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL";
    parameter WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA";
    parameter CLKBMUX = "CLKB";
    parameter GSR = "ENABLED";
    parameter [319:0] INITVAL_00 = 320'b0;
    parameter [319:0] INITVAL_01 = 320'b0;
    parameter [319:0] INITVAL_02 = 320'b0;
    parameter [319:0] INITVAL_03 = 320'b0;
    parameter [319:0] INITVAL_04 = 320'b0;
    parameter [319:0] INITVAL_05 = 320'b0;
    parameter [319:0] INITVAL_06 = 320'b0;
    parameter [319:0] INITVAL_07 = 320'b0;
    parameter [319:0] INITVAL_08 = 320'b0;
    parameter [319:0] INITVAL_09 = 320'b0;
    parameter [319:0] INITVAL_0A = 320'b0;
    parameter [319:0] INITVAL_0B = 320'b0;
    parameter [319:0] INITVAL_0C = 320'b0;
    parameter [319:0] INITVAL_0D = 320'b0;
    parameter [319:0] INITVAL_0E = 320'b0;
    parameter [319:0] INITVAL_0F = 320'b0;
    parameter [319:0] INITVAL_10 = 320'b0;
    parameter [319:0] INITVAL_11 = 320'b0;
    parameter [319:0] INITVAL_12 = 320'b0;
    parameter [319:0] INITVAL_13 = 320'b0;
    parameter [319:0] INITVAL_14 = 320'b0;
    parameter [319:0] INITVAL_15 = 320'b0;
    parameter [319:0] INITVAL_16 = 320'b0;
    parameter [319:0] INITVAL_17 = 320'b0;
    parameter [319:0] INITVAL_18 = 320'b0;
    parameter [319:0] INITVAL_19 = 320'b0;
    parameter [319:0] INITVAL_1A = 320'b0;
    parameter [319:0] INITVAL_1B = 320'b0;
    parameter [319:0] INITVAL_1C = 320'b0;
    parameter [319:0] INITVAL_1D = 320'b0;
    parameter [319:0] INITVAL_1E = 320'b0;
    parameter [319:0] INITVAL_1F = 320'b0;
    parameter [319:0] INITVAL_20 = 320'b0;
    parameter [319:0] INITVAL_21 = 320'b0;
    parameter [319:0] INITVAL_22 = 320'b0;
    parameter [319:0] INITVAL_23 = 320'b0;
    parameter [319:0] INITVAL_24 = 320'b0;
    parameter [319:0] INITVAL_25 = 320'b0;
    parameter [319:0] INITVAL_26 = 320'b0;
    parameter [319:0] INITVAL_27 = 320'b0;
    parameter [319:0] INITVAL_28 = 320'b0;
    parameter [319:0] INITVAL_29 = 320'b0;
    parameter [319:0] INITVAL_2A = 320'b0;
    parameter [319:0] INITVAL_2B = 320'b0;
    parameter [319:0] INITVAL_2C = 320'b0;
    parameter [319:0] INITVAL_2D = 320'b0;
    parameter [319:0] INITVAL_2E = 320'b0;
    parameter [319:0] INITVAL_2F = 320'b0;
    parameter [319:0] INITVAL_30 = 320'b0;
    parameter [319:0] INITVAL_31 = 320'b0;
    parameter [319:0] INITVAL_32 = 320'b0;
    parameter [319:0] INITVAL_33 = 320'b0;
    parameter [319:0] INITVAL_34 = 320'b0;
    parameter [319:0] INITVAL_35 = 320'b0;
    parameter [319:0] INITVAL_36 = 320'b0;
    parameter [319:0] INITVAL_37 = 320'b0;
    parameter [319:0] INITVAL_38 = 320'b0;
    parameter [319:0] INITVAL_39 = 320'b0;
    parameter [319:0] INITVAL_3A = 320'b0;
    parameter [319:0] INITVAL_3B = 320'b0;
    parameter [319:0] INITVAL_3C = 320'b0;
    parameter [319:0] INITVAL_3D = 320'b0;
    parameter [319:0] INITVAL_3E = 320'b0;
    parameter [319:0] INITVAL_3F = 320'b0;

    // 1,024 words of 18 bits; sixteen words in a parameter, 20 bits apart. Address bits 13..4 count words, lower ones parts.
    reg [17:0] memory [0:1023];
    integer k;
    initial for (k = 0; k < 16; k = k + 1) begin
        memory[   0 + k] = INITVAL_00[k*20 +: 18];
        memory[  16 + k] = INITVAL_01[k*20 +: 18];
        memory[  32 + k] = INITVAL_02[k*20 +: 18];
        memory[  48 + k] = INITVAL_03[k*20 +: 18];
        memory[  64 + k] = INITVAL_04[k*20 +: 18];
        memory[  80 + k] = INITVAL_05[k*20 +: 18];
        memory[  96 + k] = INITVAL_06[k*20 +: 18];
        memory[ 112 + k] = INITVAL_07[k*20 +: 18];
        memory[ 128 + k] = INITVAL_08[k*20 +: 18];
        memory[ 144 + k] = INITVAL_09[k*20 +: 18];
        memory[ 160 + k] = INITVAL_0A[k*20 +: 18];
        memory[ 176 + k] = INITVAL_0B[k*20 +: 18];
        memory[ 192 + k] = INITVAL_0C[k*20 +: 18];
        memory[ 208 + k] = INITVAL_0D[k*20 +: 18];
        memory[ 224 + k] = INITVAL_0E[k*20 +: 18];
        memory[ 240 + k] = INITVAL_0F[k*20 +: 18];
        memory[ 256 + k] = INITVAL_10[k*20 +: 18];
        memory[ 272 + k] = INITVAL_11[k*20 +: 18];
        memory[ 288 + k] = INITVAL_12[k*20 +: 18];
        memory[ 304 + k] = INITVAL_13[k*20 +: 18];
        memory[ 320 + k] = INITVAL_14[k*20 +: 18];
        memory[ 336 + k] = INITVAL_15[k*20 +: 18];
        memory[ 352 + k] = INITVAL_16[k*20 +: 18];
        memory[ 368 + k] = INITVAL_17[k*20 +: 18];
        memory[ 384 + k] = INITVAL_18[k*20 +: 18];
        memory[ 400 + k] = INITVAL_19[k*20 +: 18];
        memory[ 416 + k] = INITVAL_1A[k*20 +: 18];
        memory[ 432 + k] = INITVAL_1B[k*20 +: 18];
        memory[ 448 + k] = INITVAL_1C[k*20 +: 18];
        memory[ 464 + k] = INITVAL_1D[k*20 +: 18];
        memory[ 480 + k] = INITVAL_1E[k*20 +: 18];
        memory[ 496 + k] = INITVAL_1F[k*20 +: 18];
        memory[ 512 + k] = INITVAL_20[k*20 +: 18];
        memory[ 528 + k] = INITVAL_21[k*20 +: 18];
        memory[ 544 + k] = INITVAL_22[k*20 +: 18];
        memory[ 560 + k] = INITVAL_23[k*20 +: 18];
        memory[ 576 + k] = INITVAL_24[k*20 +: 18];
        memory[ 592 + k] = INITVAL_25[k*20 +: 18];
        memory[ 608 + k] = INITVAL_26[k*20 +: 18];
        memory[ 624 + k] = INITVAL_27[k*20 +: 18];
        memory[ 640 + k] = INITVAL_28[k*20 +: 18];
        memory[ 656 + k] = INITVAL_29[k*20 +: 18];
        memory[ 672 + k] = INITVAL_2A[k*20 +: 18];
        memory[ 688 + k] = INITVAL_2B[k*20 +: 18];
        memory[ 704 + k] = INITVAL_2C[k*20 +: 18];
        memory[ 720 + k] = INITVAL_2D[k*20 +: 18];
        memory[ 736 + k] = INITVAL_2E[k*20 +: 18];
        memory[ 752 + k] = INITVAL_2F[k*20 +: 18];
        memory[ 768 + k] = INITVAL_30[k*20 +: 18];
        memory[ 784 + k] = INITVAL_31[k*20 +: 18];
        memory[ 800 + k] = INITVAL_32[k*20 +: 18];
        memory[ 816 + k] = INITVAL_33[k*20 +: 18];
        memory[ 832 + k] = INITVAL_34[k*20 +: 18];
        memory[ 848 + k] = INITVAL_35[k*20 +: 18];
        memory[ 864 + k] = INITVAL_36[k*20 +: 18];
        memory[ 880 + k] = INITVAL_37[k*20 +: 18];
        memory[ 896 + k] = INITVAL_38[k*20 +: 18];
        memory[ 912 + k] = INITVAL_39[k*20 +: 18];
        memory[ 928 + k] = INITVAL_3A[k*20 +: 18];
        memory[ 944 + k] = INITVAL_3B[k*20 +: 18];
        memory[ 960 + k] = INITVAL_3C[k*20 +: 18];
        memory[ 976 + k] = INITVAL_3D[k*20 +: 18];
        memory[ 992 + k] = INITVAL_3E[k*20 +: 18];
        memory[1008 + k] = INITVAL_3F[k*20 +: 18];
    end

    wire [13:0] ad_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [17:0] di_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [13:0] ad_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [17:0] di_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    reg  [17:0] do_a = 0, do_b = 0;
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = do_a;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = do_b;

    function [17:0] part(input [17:0] word, input [3:0] low, input [31:0] width);
        case (width)
            1:       part = (word >> (9 * low[3] + low[2:0])) & 18'h1;
            2:       part = (word >> (9 * low[3] + 2 * low[2:1])) & 18'h3;
            4:       part = (word >> (9 * low[3] + 4 * low[2])) & 18'hF;
            9:       part = (word >> (9 * low[3])) & 18'h1FF;
            default: part = word;
        endcase
    endfunction

    function [17:0] mask(input [3:0] low, input [31:0] width);
        case (width)
            1:       mask = 18'h1 << (9 * low[3] + low[2:0]);
            2:       mask = 18'h3 << (9 * low[3] + 2 * low[2:1]);
            4:       mask = 18'hF << (9 * low[3] + 4 * low[2]);
            9:       mask = 18'h1FF << (9 * low[3]);
            default: mask = {{9{low[1]}}, {9{low[0]}}};  // enables of the bytes
        endcase
    endfunction

    function [17:0] spread(input [17:0] data, input [3:0] low, input [31:0] width);
        case (width)
            1:       spread = data << (9 * low[3] + low[2:0]);
            2:       spread = data << (9 * low[3] + 2 * low[2:1]);
            4:       spread = data << (9 * low[3] + 4 * low[2]);
            9:       spread = data << (9 * low[3]);
            default: spread = data;
        endcase
    endfunction

    // 36 bits: A writes {DIB, DIA}, B reads {DOB, DOA}
    wire [17:0] mask_a = mask(ad_a[3:0], DATA_WIDTH_A);
    wire [17:0] mask_high = {{9{ad_a[3]}}, {9{ad_a[2]}}};
    always @(posedge CLKA)
        if (CEA) begin
            if (WEA && DATA_WIDTH_A == 36) begin
                memory[{ad_a[13:5], 1'b0}] <= (memory[{ad_a[13:5], 1'b0}] & ~mask_a) | (di_a & mask_a);
                memory[{ad_a[13:5], 1'b1}] <= (memory[{ad_a[13:5], 1'b1}] & ~mask_high) | (di_b & mask_high);
            end else if (WEA) memory[ad_a[13:4]] <= (memory[ad_a[13:4]] & ~mask_a) | (spread(di_a, ad_a[3:0], DATA_WIDTH_A) & mask_a);
        end

    generate
        if (DATA_WIDTH_B == 36) begin : wide
            always @(posedge CLKB) if (CEB) {do_b, do_a} <= {memory[{ad_b[13:5], 1'b1}], memory[{ad_b[13:5], 1'b0}]};
        end else begin : narrow
            always @(posedge CLKA) if (CEA && !WEA) do_a <= part(memory[ad_a[13:4]], ad_a[3:0], DATA_WIDTH_A);
            always @(posedge CLKB) if (CEB && !WEB) do_b <= part(memory[ad_b[13:4]], ad_b[3:0], DATA_WIDTH_B);
        end
    endgenerate
endmodule
