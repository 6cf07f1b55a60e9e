// Frames around a core: hunts for A5, checks, answers. Request and reply walk through the same phases with one counter and one
// CRC. The core hears the payload while it arrives and is started only when the frame is whole.
//   request  A5 op seq len payload crc8       reply  5A op+80h (FF: error) seq len payload crc8
// A frame is checked at its end: CRC (error 1), then the operation (2), then the length (3). A line that is quiet for
// 2^QUIET_BITS clocks in the middle of a frame breaks the frame off (4). Bytes that come during a reply are not heard.
module shell #(
    parameter INFER_BYTES = 1,   // payload of a request to infer
    parameter REPLY_BYTES = 2,   // payload of its reply
    parameter QUIET_BITS  = 18
) (
    input  wire       clk,
    // from and to the line
    input  wire [7:0] s_data,
    input  wire       s_valid,
    output wire       s_ready,
    output reg  [7:0] m_data = 8'h5A,
    output wire       m_valid,
    input  wire       m_ready,
    // to and from the core
    output wire       x_clear,   // a payload begins
    output wire       x_valid,   // s_data is the next byte of it
    output wire       start,     // it was whole: infer
    input  wire       done,      // the reply is there from the next clock on
    input  wire [7:0] y_data,    // a byte of the reply, valid from the second clock after y_next
    output wire       y_next,    // the byte was taken
    output wire [7:0] y_left     // bytes of the reply that are still to be sent
);
    localparam [2:0] SYNC = 0, OP = 1, SEQ = 2, LEN = 3, PAYLOAD = 4, CHECK = 5;
    localparam [2:0] ERROR = 0, INFER = 1, ID = 2, STATUS = 3, PING = 4;
    localparam [2:0] BAD_CRC = 1, BAD_OP = 2, BAD_LENGTH = 3, BROKEN_OFF = 4;

    reg [2:0]  phase = SYNC;
    reg        running = 0;    // the request is judged; waits for the core
    reg        sending = 0;
    reg [2:0]  op = ERROR;     // ERROR: no operation that is known, or a frame that was refused
    reg [2:0]  error = 0;
    reg        fits = 0;       // the length is that of the operation
    reg [7:0]  seq = 0;
    reg [7:0]  left = 0;       // bytes of the payload to come
    reg [7:0]  crc = 0;
    reg [15:0] answered = 0;
    reg [15:0] refused = 0;

    // ---- a byte is taken, in either direction
    assign s_ready = !sending && !running;
    wire       take = sending ? m_valid && m_ready : s_valid && s_ready;
    wire [7:0] data = sending ? m_data : s_data;
    wire [7:0] crc_next;
    crc8 check (.crc(crc), .data(data), .next(crc_next));

    always @(posedge clk)
        if (take) begin
            crc <= phase == SYNC ? 8'd0 : crc_next;
            if (phase == LEN) left <= data;
            if (phase == PAYLOAD) left <= left - 1'b1;
        end

    // ---- the line is quiet in the middle of a frame
    reg [QUIET_BITS:0] quiet = 0;
    wire broken = quiet[QUIET_BITS];
    always @(posedge clk) quiet <= (s_valid || !s_ready || broken || phase == SYNC) ? 0 : quiet + 1'b1;

    // ---- phases
    wire whole = take && !sending && phase == CHECK;
    wire right = s_data == crc;
    assign start = whole && right && op == INFER && fits;
    always @(posedge clk)
        if (broken) phase <= SYNC;
        else if (take)
            case (phase)
                SYNC:    if (sending || s_data == 8'hA5) phase <= OP;
                LEN:     phase <= data == 0 ? CHECK : PAYLOAD;
                PAYLOAD: if (left == 1) phase <= CHECK;
                CHECK:   phase <= SYNC;
                default: phase <= phase + 1'b1;
            endcase

    // ---- the reply can begin
    wire ready = running && (op != INFER || done);

    // ---- what the request says, and what becomes of it
    always @(posedge clk) begin
        if (take && !sending) begin
            if (phase == OP) op <= (s_data[7:3] == 0 && s_data[2:0] <= PING) ? s_data[2:0] : ERROR;
            if (phase == SEQ) seq <= s_data;
            if (phase == LEN) fits <= s_data == (op == INFER ? INFER_BYTES : 0);
        end
        if (whole || broken) begin
            error <= broken ? BROKEN_OFF : !right ? BAD_CRC : op == ERROR ? BAD_OP : BAD_LENGTH;
            if (broken || !right || !fits) op <= ERROR;
            running <= 1;
        end
        if (ready) begin
            running <= 0;
            sending <= 1;
        end
        if (sending && take && phase == CHECK) begin
            sending <= 0;
            if (op == ERROR) refused <= refused + 1'b1;
            else answered <= answered + 1'b1;
        end
    end

    // ---- the core
    assign x_clear = take && !sending && phase == LEN;
    assign x_valid = take && !sending && phase == PAYLOAD;
    assign y_next  = take && sending && phase == PAYLOAD;
    assign y_left  = left;

    // ---- the reply: after each byte a clock for the memories and one for m_data; the first byte is there already
    reg [1:0] settled = 0;
    assign m_valid = settled[1];
    always @(posedge clk) settled <= ready ? 2'b11 : (take || !sending) ? 2'b00 : {settled[0], 1'b1};

    wire [7:0] id_data;
    identity identity (.clk(clk), .address(left[5:0]), .data(id_data));

    reg [7:0] payload;
    always @*
        case (op)
            INFER:   payload = y_data;
            ID:      payload = id_data;
            STATUS:  case (left[1:0])
                         2'd0: payload = answered[7:0];
                         2'd3: payload = answered[15:8];
                         2'd2: payload = refused[7:0];
                         default: payload = refused[15:8];
                     endcase
            default: payload = {5'd0, error};
        endcase

    reg [7:0] length;
    always @*
        case (op)
            INFER:   length = REPLY_BYTES;
            ID:      length = 33;
            STATUS:  length = 4;
            PING:    length = 0;
            default: length = 1;
        endcase

    always @(posedge clk)
        case (phase)
            SYNC:    m_data <= 8'h5A;
            OP:      m_data <= op == ERROR ? 8'hFF : {5'b10000, op};
            SEQ:     m_data <= seq;
            LEN:     m_data <= length;
            PAYLOAD: m_data <= payload;
            default: m_data <= crc;
        endcase
endmodule
