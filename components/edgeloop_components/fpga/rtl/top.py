"""The modules around a core: `device` (shell and core, bytes in and out) and `top` (a front end and the device)."""

from __future__ import annotations

from collections.abc import Mapping

from edgeloop_components.fpga.rtl.options import Front, RtlOptions

__all__ = ["FRONTS", "device", "top"]

FRONTS: Mapping[Front, str] = {"uart": "uart.v", "spi": "spi_slave.v", "wishbone": "wishbone.v"}


def device(infer_bytes: int, reply_bytes: int, quiet_bits: int) -> str:
    """Frames as bytes with valid and ready, before a front end."""
    return f"""// Shell and core: frames in, frames out, a byte a handshake.
module device #(
    parameter QUIET_BITS = {quiet_bits}
) (
    input  wire       clk,
    input  wire [7:0] s_data,
    input  wire       s_valid,
    output wire       s_ready,
    output wire [7:0] m_data,
    output wire       m_valid,
    input  wire       m_ready
);
    wire x_clear, x_valid, start, done, y_next;
    wire [7:0] y_data, y_left;

    shell #(.INFER_BYTES({infer_bytes}), .REPLY_BYTES({reply_bytes}), .QUIET_BITS(QUIET_BITS)) shell (
        .clk(clk), .s_data(s_data), .s_valid(s_valid), .s_ready(s_ready),
        .m_data(m_data), .m_valid(m_valid), .m_ready(m_ready),
        .x_clear(x_clear), .x_valid(x_valid), .start(start), .done(done),
        .y_data(y_data), .y_next(y_next), .y_left(y_left)
    );
    core core (
        .clk(clk), .x_clear(x_clear), .x_valid(x_valid), .x_data(s_data), .start(start), .done(done),
        .y_next(y_next), .y_left(y_left), .y_data(y_data)
    );
endmodule
"""


def top(options: RtlOptions) -> str:
    """The pins. uart: clk, rx, tx; spi: clk, sck, cs_n, mosi, miso; wishbone: wb_*."""
    return {"uart": _uart, "spi": _spi, "wishbone": _wishbone}[options.front](options)


_BYTES = """    wire [7:0] s_data, m_data;
    wire s_valid, s_ready, m_valid, m_ready;
"""
_DEVICE = """    device device (
        .clk({clk}), .s_data(s_data), .s_valid(s_valid), .s_ready(s_ready),
        .m_data(m_data), .m_valid(m_valid), .m_ready(m_ready)
    );
"""
_LINES = ".r_data(s_data), .r_valid(s_valid), .t_data(m_data), .t_valid(m_valid), .t_ready(m_ready)"


def _uart(options: RtlOptions) -> str:
    return f"""// The device on a serial line: {options.baud} baud, 8N1, at a clock of {options.clock_hz} Hz.
module top (
    input  wire clk,
    input  wire rx,
    output wire tx
);
{_BYTES}
    uart #(.DIVIDER({options.divider})) uart (
        .clk(clk), .rx(rx), .tx(tx),
        {_LINES}
    );
{_DEVICE.format(clk="clk")}endmodule
"""


def _spi(options: RtlOptions) -> str:
    return f"""// The device as an SPI slave, mode 0; sck at most {options.clock_hz // 6} Hz at a clock of {options.clock_hz} Hz.
module top (
    input  wire clk,
    input  wire sck,
    input  wire cs_n,
    input  wire mosi,
    output wire miso
);
{_BYTES}
    spi_slave spi_slave (
        .clk(clk), .sck(sck), .cs_n(cs_n), .mosi(mosi), .miso(miso),
        {_LINES}
    );
{_DEVICE.format(clk="clk")}endmodule
"""


def _wishbone(_: RtlOptions) -> str:
    return f"""// The device as two registers of a Wishbone bus (wishbone.v says which).
module top (
    input  wire        wb_clk,
    input  wire        wb_rst,
    input  wire        wb_cyc,
    input  wire        wb_stb,
    input  wire        wb_we,
    input  wire        wb_adr,
    input  wire [31:0] wb_dat_w,
    output wire [31:0] wb_dat_r,
    output wire        wb_ack
);
{_BYTES}
    wishbone wishbone (
        .clk(wb_clk), .rst(wb_rst), .cyc(wb_cyc), .stb(wb_stb), .we(wb_we), .adr(wb_adr),
        .dat_w(wb_dat_w), .dat_r(wb_dat_r), .ack(wb_ack), .r_ready(s_ready),
        {_LINES}
    );
{_DEVICE.format(clk="wb_clk")}endmodule
"""
