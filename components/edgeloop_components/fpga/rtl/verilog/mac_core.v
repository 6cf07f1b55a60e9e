// Dense layers, one after another, on LANES multipliers. The model is in two memories (weights.v, outputs.v); the parameters
// are those of its shape.
//
// A group of up to LANES outputs at a time: read the layer's inputs once, a product a lane and clock; then put the sums, one a
// clock, through `sum + bias` and the requantiser into the other bank of the activations, where the next layer reads them.
// Of the last layer the sums go there as bytes, least significant first, and the largest gives the label.
module mac_core #(
    parameter BITS        = 8,    // of inputs, weights and activations
    parameter LANES       = 4,
    parameter SUM_BITS    = 22,   // holds every sum that can occur
    parameter SHIFT_BITS  = 4,
    parameter WORDS       = 240,  // of weights
    parameter OUTPUTS     = 52,   // of all layers
    parameter ADDRESS     = 6,    // bits that count a layer's inputs, and the bytes of the scores
    parameter SCORES      = 4,
    parameter SCORE_BYTES = 3
) (
    input  wire       clk,
    input  wire       x_clear,
    input  wire       x_valid,
    input  wire [7:0] x_data,
    input  wire       start,
    output wire       done,  // the reply is there from the next clock on
    input  wire       y_next,
    output wire [7:0] y_data
);
    localparam WIDTH      = BITS > 8 ? BITS : 8;  // of the activations' memory, which holds the scores' bytes too
    localparam CODE_BYTES = BITS > 8 ? 2 : 1;
    localparam LANE_BITS  = LANES > 1 ? $clog2(LANES) : 1;
    localparam BYTE_BITS  = SCORE_BYTES > 1 ? $clog2(SCORE_BYTES) : 1;
    localparam LABEL_BITS = SCORES > 1 ? $clog2(SCORES) : 1;
    localparam W_BITS     = $clog2(WORDS);
    localparam O_BITS     = $clog2(OUTPUTS);

    // ---- what is being done: one of next, mac, drain (two clocks), push; else inputs are taken or scores given
    reg next = 0, mac = 0, drained = 0, adding = 0, push = 0;
    reg layer_end = 0;                   // the output pushed last is its layer's last
    reg scoring = 0;                     // and a score
    reg fresh = 0;                       // the layer to come is the first
    wire go;                             // leaves `next`
    wire pushed;                         // an output leaves its lane
    wire group_end;                      // and is its group's last
    wire last_input;

    assign done = go && layer_end && scoring;

    always @(posedge clk) begin
        next <= start || (pushed && group_end) || (next && !go);
        mac <= (go && !(layer_end && scoring)) || (mac && !last_input);
        drained <= mac;
        adding <= drained;
        push <= (adding && !drained) || (push && !(pushed && group_end));
    end

    // ---- activations
    reg               side = 0;
    reg [ADDRESS-1:0] r_at = 0, w_at = 0, inputs = 0;
    reg               told = 0;  // the label was given
    wire              write;
    wire [WIDTH-1:0]  written, read;
    wire              forward = mac || (y_next && told);
    wire [ADDRESS-1:0] r_after = r_at + 1'b1;

    activations #(.WIDTH(WIDTH), .ADDRESS(ADDRESS)) activations (
        .clk(clk), .side(side), .write(write), .w_address(w_at), .w_data(written), .r_address(r_at), .r_data(read)
    );

    assign last_input = r_after == inputs;

    always @(posedge clk) begin
        if (go) r_at <= 0;
        else if (forward) r_at <= r_after;
        if (x_clear || (go && layer_end)) w_at <= 0;
        else if (write) w_at <= w_at + 1'b1;
        if (go && layer_end) begin
            side <= !side;
            inputs <= w_at;
        end
        told <= (told || y_next) && !done;
    end

    // ---- weights and lanes
    reg  [W_BITS-1:0] w_word = 0;
    wire [LANES*BITS-1:0] weight;
    reg  signed_inputs = 0;  // those of the first layer
    wire signed [BITS:0] activation = {signed_inputs && read[BITS-1], read[BITS-1:0]};
    wire [LANES*SUM_BITS-1:0] sums;

    weights weights (.clk(clk), .address(w_word), .data(weight));

    always @(posedge clk) begin
        if (start) w_word <= 0;
        else if (mac) w_word <= w_word + 1'b1;
        fresh <= start || (fresh && !go);
        if (go && layer_end) signed_inputs <= fresh;
    end

    genvar i;
    generate
        for (i = 0; i < LANES; i = i + 1) begin : lanes
            lane #(.BITS(BITS), .SUM_BITS(SUM_BITS)) lane (
                .clk(clk), .clear(go), .add(adding),
                .weight(weight[i*BITS +: BITS]), .activation(activation), .sum(sums[i*SUM_BITS +: SUM_BITS])
            );
        end
    endgenerate

    // ---- outputs: the sum of a lane and its bias
    reg  [LANE_BITS-1:0] at_lane = 0;
    reg  [O_BITS-1:0] output_word = 0;
    wire [O_BITS-1:0] output_after = output_word + pushed;
    wire [SHIFT_BITS+SUM_BITS+2:0] output_data;
    wire signed [SUM_BITS-1:0] lane_sum = sums[at_lane*SUM_BITS +: SUM_BITS];
    reg  signed [SUM_BITS-1:0] sum = 0;
    reg  [SHIFT_BITS-1:0] shift = 0;
    reg  full = 0;         // `sum` waits to be written
    wire stored;           // its last byte is written

    outputs outputs (
        .clk(clk), .address(output_after), .data(output_data)
    );

    assign pushed = push && (!full || stored);
    assign group_end = output_data[SUM_BITS+SHIFT_BITS];
    assign go = next && !(full && layer_end);

    always @(posedge clk) begin
        output_word <= start ? 0 : output_after;
        at_lane <= push ? at_lane + pushed : 0;
        full <= pushed || (full && !stored);
        if (pushed) begin
            sum <= lane_sum + $signed(output_data[SUM_BITS-1:0]);
            shift <= output_data[SUM_BITS +: SHIFT_BITS];
            layer_end <= output_data[SUM_BITS+SHIFT_BITS+1];
            scoring <= output_data[SUM_BITS+SHIFT_BITS+2];
        end
        if (start) begin
            layer_end <= 1;
            scoring <= 0;
        end
    end

    // ---- where they go: an activation, or the bytes of a score
    wire [BITS-1:0] activated;
    reg  [BYTE_BITS-1:0] at_byte = 0;
    wire signed [SCORE_BYTES*8-1:0] score = sum;
    wire code_whole;
    wire [WIDTH-1:0] code;

    requantise #(.SUM_BITS(SUM_BITS), .SHIFT_BITS(SHIFT_BITS), .BITS(BITS)) requantise (
        .sum(sum), .shift(shift), .activation(activated)
    );

    assign stored = full && (!scoring || at_byte == SCORE_BYTES - 1);
    assign write = full || code_whole;
    assign written = !full ? code : scoring ? score[at_byte*8 +: 8] : activated;

    always @(posedge clk) at_byte <= (full && !stored) ? at_byte + 1'b1 : 0;

    // ---- the label
    wire [LABEL_BITS-1:0] label;

    largest #(.BITS(SUM_BITS), .LABEL_BITS(LABEL_BITS), .SINGLE(SCORES == 1)) largest (
        .clk(clk), .clear(start), .valid(stored && scoring), .value(sum), .label(label)
    );

    assign y_data = told ? read[7:0] : label;

    // ---- inputs: one or two bytes each, least significant first
    generate
        if (CODE_BYTES == 1) begin : narrow
            assign code_whole = x_valid;
            assign code = x_data;
        end else begin : wide
            reg [7:0] low = 0;
            reg       half = 0;
            always @(posedge clk) begin
                if (x_valid) low <= x_data;
                half <= !x_clear && (half ^ x_valid);
            end
            wire [15:0] both = {x_data, low};
            assign code_whole = x_valid && half;
            assign code = both[WIDTH-1:0];
        end
    endgenerate
endmodule
