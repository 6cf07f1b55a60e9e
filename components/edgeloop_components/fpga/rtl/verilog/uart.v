// 8N1 at clock / DIVIDER. The receiver synchronises the pin, waits for a falling edge, samples in the middle of each bit and
// drops a byte without a stop bit. No flow control: `r_valid` is high for one clock, whether anybody listens or not.
module uart #(
    parameter DIVIDER = 104  // clocks of a bit, at least 4
) (
    input  wire       clk,
    input  wire       rx,
    output wire       tx,
    output wire [7:0] r_data,
    output reg        r_valid,
    input  wire [7:0] t_data,
    input  wire       t_valid,
    output wire       t_ready
);
    localparam WIDTH = $clog2(DIVIDER);
    localparam [WIDTH-1:0] BIT = DIVIDER - 1;
    localparam [WIDTH-1:0] HALF = DIVIDER / 2 - 1;

    // ---- receiver: `r_left` samples are to be taken: the start bit, eight of data, the stop bit
    reg [2:0]       line = 3'b000;  // two registers against metastability, one to see the edge
    reg [WIDTH-1:0] r_count = 0;
    reg [3:0]       r_left = 0;
    reg [7:0]       r_bits = 0;
    wire            r_idle = r_left == 0;
    wire            r_sample = r_count == 0;
    wire            false_start = r_left == 10 && line[1];

    assign r_data = r_bits;

    always @(posedge clk) begin
        line <= {line[1:0], rx};
        r_valid <= r_left == 1 && r_sample && line[1];
        r_count <= r_idle ? HALF : r_sample ? BIT : r_count - 1'b1;
        if (r_idle) begin
            if (line[2] && !line[1]) r_left <= 10;
        end else if (r_sample) begin
            r_left <= false_start ? 4'd0 : r_left - 1'b1;
            if (r_left != 1) r_bits <= {line[1], r_bits[7:1]};
        end
    end

    // ---- transmitter: a shift register of start bit and data, followed by ones
    reg [WIDTH-1:0] t_count = 0;
    reg [3:0]       t_left = 0;
    reg [8:0]       t_bits_n = 0;  // inverted, so that the line is high after power-up

    assign tx = !t_bits_n[0];
    assign t_ready = t_left == 0;

    always @(posedge clk) begin
        t_count <= (t_ready || t_count == 0) ? BIT : t_count - 1'b1;
        if (t_ready) begin
            if (t_valid) begin
                t_bits_n <= {~t_data, 1'b1};
                t_left <= 10;
            end
        end else if (t_count == 0) begin
            t_bits_n <= {1'b0, t_bits_n[8:1]};
            t_left <= t_left - 1'b1;
        end
    end
endmodule
