// SPI slave, mode 0, most significant bit first, oversampled: each half of `sck` lasts at least three clocks, and `cs_n` changes
// at least three clocks away from edges of `sck` and of itself. Bytes may follow each other without a pause.
// Full duplex: a byte of the reply goes out where one is ready, else 00. What comes in during a reply is not heard.
// A reply may become ready just while the master samples, so that its first bit has to be 0 (of 5A).
// `cs_n` high starts the next byte anew; a byte of the reply that waits is kept, one that has begun is lost.
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
    reg       waits = 0;  // `t_bits` holds a byte that has not begun
    reg       begun = 0;  // a byte is on its way
    wire      rising = !away[1] && clock[1] && !clock[2];
    wire      falling = !away[1] && !clock[1] && clock[2];
    wire      ended = begun && falling && place == 0;

    assign r_data = r_bits;
    assign miso = t_bits[7];
    assign t_ready = ended || (!begun && !waits);

    always @(posedge clk) begin
        clock <= {clock[1:0], sck};
        away <= {away[0], cs_n};
        data <= {data[0], mosi};
        if (rising) r_bits <= {r_bits[6:0], data[1]};
        r_valid <= rising && place == 7;
        place <= away[1] ? 3'd0 : place + rising;
        begun <= !away[1] && (rising || (begun && !ended));
        if (rising) waits <= 0;
        else if (t_ready) waits <= t_valid;
        if (t_ready) t_bits <= t_valid ? t_data : 8'h00;
        else if (begun && falling) t_bits <= {t_bits[6:0], 1'b0};
    end
endmodule
