// SPI slave, mode 0, most significant bit first, oversampled: `sck` at most a sixth of `clk`.
// Full duplex: a byte of the reply goes out where one is ready, else 00. What comes in during a reply is not heard.
// `cs_n` high starts the next byte anew.
module spi_slave (
    input  wire       clk,
    input  wire       sck,
    input  wire       cs_n,
    input  wire       mosi,
    output wire       miso,
    output wire [7:0] r_data,
    output reg        r_valid,
    input  wire [7:0] t_data,
    input  wire       t_valid,
    output wire       t_ready
);
    reg [2:0] clock = 3'b000;
    reg [1:0] away = 2'b11;
    reg [1:0] data = 2'b00;
    reg [2:0] place = 0;
    reg [7:0] r_bits = 0;
    reg [7:0] t_bits = 0;
    reg       loaded = 0;  // `t_bits` holds what this byte sends
    wire      rising = clock[1] && !clock[2];
    wire      falling = !clock[1] && clock[2];

    assign r_data = r_bits;
    assign miso = t_bits[7];
    assign t_ready = !loaded && !away[1] && !rising && !falling;

    always @(posedge clk) begin
        clock <= {clock[1:0], sck};
        away <= {away[0], cs_n};
        data <= {data[0], mosi};
        r_valid <= 0;
        if (away[1]) begin
            place <= 0;
            t_bits <= 0;
            loaded <= 0;
        end else if (rising) begin
            r_bits <= {r_bits[6:0], data[1]};
            place <= place + 1'b1;
            r_valid <= place == 7;
            loaded <= 1;
        end else if (falling) begin
            t_bits <= {t_bits[6:0], 1'b0};
            loaded <= place != 0;
        end else if (t_ready && t_valid) begin
            t_bits <= t_data;
            loaded <= 1;
        end
    end
endmodule
