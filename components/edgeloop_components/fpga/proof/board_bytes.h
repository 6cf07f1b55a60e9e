// The module `device`: a byte a handshake. Bytes that come while it answers wait.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vdevice.h"
#include "verilated.h"

class Board {
    static constexpr uint64_t PATIENCE = 50'000'000;  // clocks of one reply

  public:
    explicit Board(FILE* cycles) : cycles_(cycles) {
        device_.m_ready = 1;
        device_.s_valid = 0;
        device_.clk = 0;
        device_.eval();
    }

    void quiet() {  // runs until the timer has broken a frame off, or surely would have
        for (uint64_t k = 0; k < (2ULL << QUIET_BITS); ++k) clock();
        settle();
    }

    void give(unsigned char byte) {
        settle();
        device_.s_data = byte;
        device_.s_valid = 1;
        device_.eval();
        taken_ = now_;
        clock();
        device_.s_valid = 0;
        device_.eval();
        settle();
    }

    void pause() {}  // the input so far is used up: `give` has waited for the reply

    std::vector<unsigned char> out;

  private:
    void settle() {
        for (uint64_t waited = 0; !device_.s_ready; ++waited) {
            if (waited > PATIENCE) std::fprintf(stderr, "the device hangs\n"), std::exit(3);
            clock();
        }
        answering_ = false;
    }

    void clock() {
        if (device_.m_valid) {
            if (!answering_ && cycles_) std::fprintf(cycles_, "%llu\n", static_cast<unsigned long long>(now_ - taken_));
            answering_ = true;
            out.push_back(device_.m_data);
        }
        device_.clk = 1;
        device_.eval();
        device_.clk = 0;
        device_.eval();
        ++now_;
    }

    Vdevice device_;
    FILE* cycles_;
    uint64_t now_ = 0, taken_ = 0;
    bool answering_ = false;
};
