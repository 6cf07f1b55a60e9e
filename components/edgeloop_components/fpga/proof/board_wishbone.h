// The module `top` on a Wishbone bus: one classic cycle a register.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

class Board {
  public:
    explicit Board(FILE*) {
        top_.wb_clk = top_.wb_rst = top_.wb_cyc = top_.wb_stb = 0;
        top_.eval();
        run(4);
    }

    void give(unsigned char byte) {
        while (!(access(1, 0, 0) & 1)) drain();
        access(0, 1, byte);
    }

    void pause() {
        for (int idle = 0; idle < 20'000; ++idle)
            if (drain()) idle = 0;
    }

    void quiet() { run(2ULL << QUIET_BITS), pause(); }

    std::vector<unsigned char> out;

  private:
    bool drain() {
        const uint32_t read = access(0, 0, 0);
        if (read & 0x100) out.push_back(static_cast<unsigned char>(read));
        return read & 0x100;
    }

    uint32_t access(int address, int write, uint32_t data) {
        top_.wb_cyc = top_.wb_stb = 1;
        top_.wb_we = write;
        top_.wb_adr = address;
        top_.wb_dat_w = data;
        int waited = 0;
        do {
            run(1);
            if (++waited > 100) std::fprintf(stderr, "no acknowledgement\n"), std::exit(3);
        } while (!top_.wb_ack);
        const uint32_t read = top_.wb_dat_r;
        top_.wb_cyc = top_.wb_stb = 0;
        run(1);
        return read;
    }

    void run(uint64_t clocks) {
        for (; clocks; --clocks) {
            top_.wb_clk = 1;
            top_.eval();
            top_.wb_clk = 0;
            top_.eval();
        }
    }

    Vtop top_;
};
