// The module `top` on a serial line, bit by bit: the pins alone are used. DIVIDER clocks a bit.
// Written without a look at uart.v, so that both would have to be wrong in the same way.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

class Board {
  public:
    explicit Board(FILE*) {
        top_.clk = 0;
        top_.rx = 1;
        top_.eval();
        run(4 * DIVIDER);
    }

    void give(unsigned char byte) {
        send(0);
        for (int k = 0; k < 8; ++k) send(byte >> k & 1);
        send(1);
    }

    void pause() {  // until the reply, if there is one, has been over for thirty bytes' time
        for (since_ = 0; since_ < 300 * DIVIDER + 20'000;) run(1);
    }

    void quiet() { run(2ULL << QUIET_BITS), pause(); }

    std::vector<unsigned char> out;

  private:
    void send(int level) { top_.rx = level, run(DIVIDER); }

    void run(uint64_t clocks) {
        for (; clocks; --clocks) {
            top_.clk = 1;
            top_.eval();
            top_.clk = 0;
            top_.eval();
            ++since_;
            hear(top_.tx);
        }
    }

    // A byte begins with a falling edge; its bits are looked at in their middles.
    void hear(int level) {
        if (age_ < 0) {
            if (!level) age_ = 0, byte_ = 0;
            return;
        }
        since_ = 0;
        ++age_;
        const int64_t bit = age_ / DIVIDER;
        if (age_ % DIVIDER != DIVIDER / 2) return;
        if (bit == 0 && level) age_ = -1;  // no start bit: a glitch
        if (bit >= 1 && bit <= 8) byte_ |= level << (bit - 1);
        if (bit == 9) {
            if (!level) std::fprintf(stderr, "a byte without a stop bit\n"), std::exit(3);
            out.push_back(static_cast<unsigned char>(byte_));
            age_ = -1;
        }
    }

    Vtop top_;
    uint64_t since_ = 0;
    int64_t age_ = -1;
    int byte_ = 0;
};
